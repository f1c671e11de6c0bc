"""How good a conversion is: the clips, the measures, the systems and the report."""
