-- encode_fed_shapes: fields that scale vectors, errors fed: templates/encode_fed_shapes.cu.in.
-- The first value of a tunable is its default.

return {
  name = "encode_fed_shapes",
  op = "encode-fed",
  form = "shapes",
  path = "fed-shapes",
  template = "templates/encode_fed_shapes.cu.in",
  help = "group fields that scale vectors, and the codes of vectors, errors fed forward into " ..
    "columns behind them, as the CPU finds them",
  tunables = {
    tunable("warps", { 4, 2 }),
  },
}
