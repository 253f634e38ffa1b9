-- encode_sums: group fields whose sum a weight is, with codes: templates/encode_sums.cu.in.
-- The first value of a tunable is its default.

return encoder("sums",
  "group fields whose sum a weight is, and the codes of their groups, as the CPU finds them", {
  tunable("warps", { 4, 2 }),
})
