"""The types of the lab, and the verdict that the truth of each demands."""
