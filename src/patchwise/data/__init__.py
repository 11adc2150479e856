"""Images from folders, archives, lists, or drawn."""
