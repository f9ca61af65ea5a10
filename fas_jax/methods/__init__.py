"""Everything that scores a clip, behind one interface."""
