-- encode_shapes: group fields that scale vectors, with codes: templates/encode_shapes.cu.in.
-- The first value of a tunable is its default.

return {
  name = "encode_shapes",
  op = "encode",
  form = "shapes",
  path = "shapes",
  template = "templates/encode_shapes.cu.in",
  help = "group fields that scale vectors, and the codes of vectors, as the CPU finds them",
  tunables = {
    tunable("warps", { 4, 2 }),
  },
}
