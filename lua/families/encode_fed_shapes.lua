-- encode_fed_shapes: fields that scale vectors, errors fed: templates/encode_fed_shapes.cu.in.
-- The first value of a tunable is its default.

return fed_encoder("shapes",
  "group fields that scale vectors, and the codes of vectors, errors fed forward into " ..
  "columns behind them, as the CPU finds them", {
  tunable("warps", { 4, 2 }),
})
