"""SKT: the socket commands of Realtek Ameba modules."""
