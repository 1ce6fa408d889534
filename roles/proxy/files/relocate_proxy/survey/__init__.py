"""What a host says of itself and of its containers, and what stands in the way of a move."""
