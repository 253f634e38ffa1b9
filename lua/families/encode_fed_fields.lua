-- encode_fed_fields: group fields and codes with error feedback: templates/encode_fed_fields.cu.in.
-- The first value of a tunable is its default.

return fed_encoder("fields",
  "group fields and the codes of weights by a scalar quantizer, errors of columns fed " ..
  "forward into those behind them, as the CPU finds them", {
  tunable("warps", { 4, 8, 2 }),
})
