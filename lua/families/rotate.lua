-- rotate: Y = H (s * X), or its inverse: templates/rotate.cu.in.
-- The first value of a tunable is its default.

return {
  name = "rotate",
  op = "rotate",
  template = "templates/rotate.cu.in",
  help = "the random Hadamard rotation of activations (forward) or of weights' rows (inverse)",
  tunables = { tunable("warps", { 16, 8, 32 }), tunable("pdl", { 0, 1 }) },
  constraint = pdl_allows,
}
