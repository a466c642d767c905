"""The offers of a Region: types, prices, zones, placement groups."""
