-- encode_fed_sums: fields that add up, errors fed forward: templates/encode_fed_sums.cu.in.
-- The first value of a tunable is its default.

return {
  name = "encode_fed_sums",
  op = "encode-fed",
  form = "sums",
  path = "fed-sums",
  template = "templates/encode_fed_sums.cu.in",
  help = "group fields whose sum a weight is, and codes, errors fed forward into columns behind " ..
    "them, as the CPU finds them",
  tunables = {
    tunable("warps", { 4, 2 }),
  },
}
