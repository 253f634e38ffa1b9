-- encode_fields: group fields with the codes of their groups: templates/encode_fields.cu.in.
-- The first value of a tunable is its default.

return encoder("fields",
  "group fields and the codes of weights by a scalar quantizer, as the CPU finds them", {
  tunable("warps", { 4, 8, 2 }),
})
