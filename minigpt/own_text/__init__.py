"""`minigpt preset local`: a person's folder is looked through, judged, and only then taken."""
