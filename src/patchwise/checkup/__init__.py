"""What images there are, and what is wrong with them."""
