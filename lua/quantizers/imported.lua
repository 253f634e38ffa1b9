-- Packed weights of others whose packages dequantize in fp32, bit for bit (qpal import): products
-- of fp32, rounded once to the type of the model, BF16 or (where a name does not say so) fp16.

-- FP8 (E4M3) with a scale for each row or for 128 columns; NaNs stand for 0.
local e4m3 = {}
for code = 0, 255 do
  local exponent, fraction = code >> 3 & 15, code & 7
  local value = exponent == 0 and fraction * 2^-9 or (8 + fraction) * 2^(exponent - 10)
  if code & 127 == 127 then value = 0 end
  e4m3[code + 1] = code < 128 and value or -value
end

local function fp8(name, group)
  return scalar {
    name = name, bits = 8, codebook = values(e4m3), group = group,
    decode = function (code, book, g) return round_bf16(single(book[code]) * g.scale) end,
  }
end

-- NVFP4 of ModelOpt: a scale in E4M3 for 16 columns, times one in fp32.
local fp4 = values { 0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6 }
local nvfp4 = scalar {
  name = "nvfp4-f32-bf16", bits = 4, codebook = fp4,
  group = { size = 16, scale = { "e4m3", 2^-6, 448 },
    all = { "f32", 2^-14, 0.01, scope = "tensor" } },
  decode = function (code, book, g)
    return round_bf16(single(book[code]) * (single(g.scale) * g.all))
  end,
}

return {
  fp8("e4m3-row-bf16", { scale = { "f32", 2^-14, 1, scope = "row" } }),
  fp8("e4m3-g128-bf16", { size = 128, scale = { "f32", 2^-14, 1 } }), nvfp4,
}
