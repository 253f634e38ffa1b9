-- rotate_glu: Y = H (s * activation(gate) * up): templates/rotate_glu.cu.in.
-- The first value of a tunable is its default.

return {
  name = "rotate_glu",
  op = "rotate-glu",
  template = "templates/rotate_glu.cu.in",
  help = "gated linear unit and rotation in one launch: what stands before down",
  tunables = { tunable("warps", { 16, 8, 32 }), tunable("pdl", { 0, 1 }) },
  constraint = pdl_allows,
}
