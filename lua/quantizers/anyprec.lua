-- Any-precision (arXiv 2402.10517): 3-bit codes stored as bit planes, a codebook for each row. The
-- same weights read at 2 bits need only the first two planes, and their own codebook.

return {
  scalar {
    name = "anyprec-3",
    bits = 3,
    planes = true,
    codebook = lloyd_max { entries = 8, scope = "row" },
  },
  scalar {
    name = "anyprec-3-as-2",
    bits = 3,
    planes = true,
    planes_read = 2,
    codebook = lloyd_max { entries = 4, scope = "row" },
  },
}
