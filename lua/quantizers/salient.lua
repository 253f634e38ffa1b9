-- Columns that matter most, the first of an order, have more bits than the others.

local function sign(code) return half_signed(code * 2 - 1) end

-- Signs times scales of a group; the salient ones two signs, of which the second is of the rest.
local salient = scalar {
  name = "billm-2", bits = 2, group = { size = 128, a = { "f16", 2^-12, 4 }, b = { "f16", 0, 4 } },
  decode = function (code, _, g) return sign(code & 1) * g.a + sign(code >> 1) * g.b end,
}

-- Signs times one of two scales: weights near 0 and those far from it.
local bell = scalar {
  name = "billm-2b", bits = 2,
  group = { size = 128, near = { "f16", 2^-12, 4 }, far = { "f16", 2^-12, 4 } },
  decode = function (code, _, g) return sign(code & 1) * select(code >> 1, g.far, g.near) end,
}

-- Any finite half.
local half16 = scalar {
  name = "f16-16", bits = 16,
  decode = function (code)
    return as_half(select(eq(code & 0x7c00, 0x7c00), code & 0xfbff, code))
  end,
}

return {
  -- BiLLM (arXiv 2402.04291): an eighth of the columns, the salient ones, has two signs a weight.
  salient, bell,
  split {
    name = "billm-2.0", rotation = "none", order = "sensitivity",
    parts = { { "billm-2", 1/8 }, { "billm-2b", 7/8 } },
  },
  -- Dense and sparse (SqueezeLLM, arXiv 2306.07629; SpQR, 2306.03078) by columns: the most
  -- sensitive ones in fp16 beside 3 bits, in one launch.
  half16,
  split {
    name = "outliers-3.4", rotation = "none", order = "sensitivity",
    parts = { { "f16-16", 1/32 }, { "int3-g128", 31/32 } },
  },
}
