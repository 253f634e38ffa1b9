-- rotate_norm: Y = H (s * RMSNorm(X + residual)): templates/rotate_norm.cu.in.
-- The first value of a tunable is its default.

return {
  name = "rotate_norm",
  op = "rotate-norm",
  template = "templates/rotate_norm.cu.in",
  help = "residual, RMSNorm and rotation in one launch: what stands before q|k|v and up|gate",
  tunables = { tunable("warps", { 16, 8, 32 }), tunable("pdl", { 0, 1 }) },
  constraint = pdl_allows,
}
