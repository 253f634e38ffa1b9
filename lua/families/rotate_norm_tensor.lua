-- rotate_norm_tensor: as rotate_norm, with the rotation of templates/rotation_tensor.cuh.in.
-- The first value of a tunable is its default.

return {
  name = "rotate_norm_tensor",
  op = "rotate-norm",
  form = "tensor",
  rank = 1,
  needs = { "mma_k16" },
  template = "templates/rotate_norm_tensor.cu.in",
  help = "rotate_norm, the topmost factor on tensor cores; few rows by several blocks",
  tunables = { tunable("warps", { 16, 8, 32 }), tunable("pdl", { 0, 1 }) },
  constraint = pdl_allows,
}
