-- rows_product: 32 rows by a matrix or a triangle: templates/rows_product.cu.in.
-- The first value of a tunable is its default.

return {
  name = "rows_product",
  op = "rows-product",
  template = "templates/rows_product.cu.in",
  help = "products of 32 rows with a Hessian's factor, bit for bit the CPU's",
  tunables = {
    tunable("warps", { 4, 1, 8 }),
    { name = "each", tag = "e", values = { 8, 4, 16 }, help = "rows of M of a warp at a time" },
  },
}
