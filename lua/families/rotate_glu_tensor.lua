-- rotate_glu_tensor: as rotate_glu, with the rotation of templates/rotation_tensor.cuh.in.
-- The first value of a tunable is its default.

return {
  name = "rotate_glu_tensor",
  op = "rotate-glu",
  form = "tensor",
  rank = 1,
  needs = { "mma_k16" },
  template = "templates/rotate_glu_tensor.cu.in",
  help = "rotate_glu, the topmost factor on tensor cores; few rows by several blocks",
  tunables = { tunable("warps", { 16, 8, 32 }), tunable("pdl", { 0, 1 }) },
  constraint = pdl_allows,
}
