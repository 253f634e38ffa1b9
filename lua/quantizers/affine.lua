-- Affine integers of mlx, bit for bit (qpal import): the product with the scale is rounded to the
-- type of the model, and so is the sum with the bias.

local function affine(bits, size)
  local name = ("affine%d-g%d"):format(bits, size)
  local function group(type)
    return { size = size, scale = { type, 2^-12, 1 }, bias = { type, -8, 8 } }
  end
  return scalar {
    name = name, bits = bits, group = group("f16"),
    decode = function (code, _, g) return half(code) * g.scale + g.bias end,
  }, scalar {
    name = name .. "-bf16", bits = bits, group = group("bf16"),
    decode = function (code, _, g)
      return round_bf16(round_bf16(single(code) * g.scale) + g.bias)
    end,
  }
end

local a, b = affine(4, 32)
local c, d = affine(4, 64)
local e, f = affine(8, 64)
return { a, b, c, d, e, f }
