-- Packed weights of others whose packages divide, bit for bit (qpal import), in fp32.

-- LLM.int8 of bitsandbytes: times the largest magnitude of a row, over 127.
local function int8(name, round)
  return scalar {
    name = name, bits = 8, group = { largest = { "f32", 2^-10, 64, scope = "row" } },
    decode = function (code, _, g)
      return round(single_signed(code - 128) * g.largest * as_single(0x3c010204))    -- 1 / 127
    end,
  }
end

-- NVFP4 of compressed-tensors: a scale in E4M3 for 16 columns, divided by one in fp32. With that
-- and its reciprocal rounded, two steps give the quotient as rounded once (Markstein 1990).
local fp4 = values { 0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6 }
local nvfp4 = scalar {
  name = "nvfp4-quotient-bf16", bits = 4, codebook = fp4,
  group = { size = 16, scale = { "e4m3", 2^-6, 448 },
    by = { "f32", 256, 256, scope = "tensor" },
    reciprocal = { "f32", 2^-8, 2^-8, scope = "tensor" } },
  decode = function (code, book, g)
    local scale = single(g.scale)
    local near = scale * g.reciprocal
    local quotient = fma(fma(-near, g.by, scale), g.reciprocal, near)
    return round_bf16(single(book[code]) * quotient)
  end,
}

return {
  int8("int8-row-f32", function (x) return x end), int8("int8-row-f32-bf16", round_bf16), nvfp4,
}
