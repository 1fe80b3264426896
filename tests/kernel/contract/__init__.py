"""What every kernel must do, hook by hook and map by map: one table each, run natively and in guests."""
