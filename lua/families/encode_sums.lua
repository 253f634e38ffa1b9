-- encode_sums: group fields whose sum a weight is, with codes: templates/encode_sums.cu.in.
-- The first value of a tunable is its default.

return {
  name = "encode_sums",
  op = "encode",
  form = "sums",
  path = "sums",
  template = "templates/encode_sums.cu.in",
  help = "group fields whose sum a weight is, and the codes of their groups, as the CPU finds them",
  tunables = {
    tunable("warps", { 4, 2 }),
  },
}
