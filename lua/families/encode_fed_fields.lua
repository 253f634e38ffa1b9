-- encode_fed_fields: group fields and codes with error feedback: templates/encode_fed_fields.cu.in.
-- The first value of a tunable is its default.

return {
  name = "encode_fed_fields",
  op = "encode-fed",
  form = "fields",
  path = "fed-fields",
  template = "templates/encode_fed_fields.cu.in",
  help = "group fields and the codes of weights by a scalar quantizer, errors of columns fed " ..
    "forward into those behind them, as the CPU finds them",
  tunables = {
    tunable("warps", { 4, 8, 2 }),
  },
}
