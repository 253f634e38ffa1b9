-- Block types of GGUF files (ggml/src/ggml-common.h) that fp16 holds as they are: what qpal import
-- keeps. Q4_0 is int4-g32 with a zero of 8. Ternary weights of TQ1_0 and TQ2_0 take 2 bits.

local uneven = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113, dim = 1 }
local scale, minimum = { "f16", 0.001, 1 }, { "f16", -4, 4 }

-- d (q - zero)
local function centred(name, bits, size, zero)
  return scalar {
    name = name, bits = bits, group = { size = size, scale = scale },
    decode = function (code, _, group) return (half(code) - zero) * group.scale end,
  }
end

-- d q + m, rounded once
local function shifted(name, bits)
  return scalar {
    name = name, bits = bits, group = { size = 32, scale = scale, min = minimum },
    decode = function (code, _, group) return fma(half(code), group.scale, group.min) end,
  }
end

return {
  shifted("q4_1", 4), centred("q5_0", 5, 32, 16), shifted("q5_1", 5), centred("q8_0", 8, 32, 128),
  centred("tq2_0", 2, 256, 1),
  scalar {
    name = "iq4_nl", bits = 4, codebook = values(uneven), group = { size = 32, scale = scale },
    decode = function (code, codebook, group) return codebook[code] * group.scale end,
  },
}
