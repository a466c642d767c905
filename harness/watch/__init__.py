"""Watch clocks all the time: streams of samples, and the workers that take them."""
