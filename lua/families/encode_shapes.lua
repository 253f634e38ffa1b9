-- encode_shapes: group fields that scale vectors, with codes: templates/encode_shapes.cu.in.
-- The first value of a tunable is its default.

return encoder("shapes",
  "group fields that scale vectors, and the codes of vectors, as the CPU finds them", {
  tunable("warps", { 4, 2 }),
})
