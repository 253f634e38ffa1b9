-- Dense and sparse: the entries of a row that matter most have fp16 numbers of their own.

-- SqueezeLLM (arXiv 2306.07629): each row's own table of 2^b numbers, and 0.45 % of its entries.
local function squeezellm(bits)
  return scalar {
    name = "squeezellm-" .. bits, bits = bits, rotation = "none", sparse = 0.0045,
    codebook = lloyd_max { entries = 1 << bits, scope = "row" },
  }
end

-- SpQR (arXiv 2306.03078): integers in groups of 16, whose scales and offsets have 3 bits of those
-- of 16 groups; and 1 % of a row's entries.
local spqr = scalar {
  name = "spqr-3", bits = 3, rotation = "none", sparse = 0.01,
  group = { size = 16, scale = { "u3", 0, 7 }, least = { "u3", 0, 7 },
    d = { "f16", 2^-14, 0.5, size = 256 }, dmin = { "f16", 2^-14, 0.5, size = 256 } },
  decode = function (code, _, g)
    return single(g.d) * single(g.scale) * single(code) - single(g.dmin) * single(g.least)
  end,
}

return { squeezellm(3), squeezellm(4), spqr }
