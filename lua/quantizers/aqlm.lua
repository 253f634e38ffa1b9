-- Additive quantization (AQLM, arXiv 2401.06118), 2x8: eight weights are the sum of one vector from
-- each of two codebooks of 256, which belong to the linear and are stored with its weights.

return vector {
  name = "aqlm-2x8",
  dim = 8,
  bits = 16,
  codebooks = {
    a = gaussian_kmeans { entries = 256, dim = 8, seed = 1, scope = "tensor" },
    b = random_gaussian { entries = 256, dim = 8, seed = 2, scope = "tensor" },
  },
  decode = function (code, books)
    return books.a[code & 255] + books.b[code >> 8] * 0.5
  end,
}
