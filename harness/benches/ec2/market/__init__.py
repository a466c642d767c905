"""What a Region offers: types, prices, zones, placement groups."""
