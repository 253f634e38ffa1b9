-- encode_fed_sums: fields that add up, errors fed forward: templates/encode_fed_sums.cu.in.
-- The first value of a tunable is its default.

return fed_encoder("sums",
  "group fields whose sum a weight is, and codes, errors fed forward into columns behind " ..
  "them, as the CPU finds them", {
  tunable("warps", { 4, 2 }),
})
