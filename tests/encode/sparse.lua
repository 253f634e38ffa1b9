-- Quantizers with sparse entries of which test_sparse.c knows the same without them.
local function with(sparse, name)
  return scalar {
    name = "integers" .. name, bits = 3, sparse = sparse,
    group = { size = 64, scale = { "f16", 2^-12, 16 }, zero = { "u3", 0, 7 } },
    decode = function (code, _, g) return (half(code) - half(g.zero)) * g.scale end,
  }, trellis {
    name = "trellis" .. name, window = 8, dim = 2, step = 4, sparse = sparse,
    codebook = random_gaussian { entries = 256, dim = 2, seed = 7 },
  }
end
local list = { with(nil, "") }
for _, q in ipairs { with(1 / 64, "-sparse") } do list[#list + 1] = q end
list[#list + 1] = split {
  name = "both-sparse", parts = { { "trellis-sparse", 1/2 }, { "integers-sparse", 1/2 } },
}
return list
