"""Who is champion: the gate, the comparison behind it, and the log of what was done."""
