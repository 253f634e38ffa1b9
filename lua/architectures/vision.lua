-- Decoders inside something larger: what stands around the blocks, which is passed through.
-- 'text' says where a config.json keeps the decoder's part (text_config), 'of' which family it is
-- where that part does not say.

local attention, mlp = blocks.attention, blocks.mlp
local linear, number = blocks.linear, blocks.number

local function shell(types, o)
  o = o or {}
  family {
    types = types, of = o.of, text = o.text, defaults = o.defaults, names = o.names,
    prefix = o.prefix or "model.language_model.", head = o.head or "lm_head",
    embedding = o.embedding,
    passed = o.passed or blocks.passed_vision(o.vision),
  }
end

-- The decoders' model_types that only stand inside others.
local function like(types, of, more)
  local entry = { types = types, of = of, prefix = "model.", head = "lm_head" }
  for k, v in pairs(more or {}) do entry[k] = v end
  family(entry)
end

local merger = { projector = "merger" }
local old_llava = { prefix = "language_model.model.", head = "language_model.lm_head" }
local function under_language_model(o)
  for k, v in pairs(old_llava) do o[k] = o[k] or v end
  return o
end

shell({ "*" }) -- any other, around a decoder that is known
shell({ "qwen2_vl" }, { of = "qwen2", vision = { projector = "merger", width = "embed_dim" } })
shell({ "qwen2_5_vl" }, { of = "qwen2", vision = { projector = "merger", gated = true } })
shell({ "qwen3_vl" }, { of = "qwen3", vision = merger })
shell({ "qwen3_vl_moe" }, { of = "qwen3_vl_moe_text", vision = merger })
shell({ "qwen3_5" }, { of = "qwen3_5_text", vision = merger })
shell({ "qwen3_5_moe" }, { of = "qwen3_5_moe_text", vision = merger })
shell({ "qwen2_5_omni", "qwen3_omni_moe" }, {
  text = "thinker_config.text_config", prefix = "thinker.model.", head = "thinker.lm_head",
  passed = function()
    return { weights = 0, what = "towers for images and sound, talker (not counted)" }
  end,
})
-- The tower's MLPs are as wide as the decoder; a convolution joins patches, a gated MLP ends it.
local function glm_tower(m)
  local v = m.root.vision_config
  if type(v) ~= "table" then return nil end
  local h, out = number(v.hidden_size, 1536), number(v.out_hidden_size, m.hidden)
  local inner, patch = number(v.intermediate_size, 13696), number(v.patch_size, 14)
  local places = (number(v.image_size, 336) // patch) ^ 2 // 1 | 0
  return {
    weights = number(v.depth, 24) * (4 * h * h + 3 * h * out) + (6 * patch * patch + places) * h
      + out * out + 3 * out * inner + 4 * h * out,
    what = "vision tower and projector",
  }
end
shell({ "glm4v", "glm46v" }, { of = "glm4", passed = glm_tower })
shell({ "glm4v_moe" }, { of = "glm4v_moe_text", passed = glm_tower })

-- The decoder's part may leave out what its class takes for granted: Llama's first sizes.
local first_llama = { hidden = 4096, intermediate = 11008, heads = 32, layers = 32, vocab = 32000 }
shell({ "llava", "vipllava", "llava_next", "llava_next_video", "llava_onevision", "video_llava" },
      under_language_model { of = "llama", defaults = first_llama })
shell({ "llava_llama", "llava_mistral" }, { of = "llama", prefix = "model." })
shell({ "mistral3" }, under_language_model { of = "mistral", vision = { gated = true } })
shell({ "paligemma" }, under_language_model { of = "gemma", vision = { projector = "linear" } })
shell({ "aya_vision", "cohere2_vision" }, under_language_model {
  of = "cohere2",
  passed = function(m)
    local v = m.root.vision_config
    if type(v) ~= "table" then return nil end
    local merge = number(m.root.downsample_factor, 2) ^ 2 // 1 | 0
    local wide = number(m.root.alignment_intermediate_size, 36864)
    return {
      weights = blocks.vision(v, { projector = "none" })
        + number(v.hidden_size, 1152) * merge * wide + wide // 2 * m.hidden,
      what = "vision tower and projector",
    }
  end,
})
shell({ "internvl" }, under_language_model { of = "qwen2", vision = { projector = "merged" } })
shell({ "internvl_chat", "NVLM_D" }, under_language_model {
  text = "llm_config", of = "qwen2", vision = { projector = "merged" },
})
shell({ "kimi_k25" }, under_language_model { of = "kimi_k2", vision = merger })
shell({ "kimi_vl" }, under_language_model { of = "deepseek_v3", vision = merger })
shell({ "deepseek_vl_v2", "deepseek_vl2" }, under_language_model {
  text = "language_config", of = "deepseek_v2", prefix = "language.model.",
  head = "language.lm_head",
})
shell({ "multi_modality", "janus" },
      under_language_model { text = "language_config", of = "llama", defaults = first_llama })
shell({ "idefics3", "smolvlm", "idefics2" }, { of = "llama", prefix = "model.text_model.",
                                               defaults = { vocab = 32000 } })
shell({ "gemma4" }, { of = "gemma4_text", vision = { gated = true, projector = "linear" } })
shell({ "llama4" }, under_language_model {
  of = "llama4_text",
  passed = function(m)
    local v = m.root.vision_config
    if type(v) ~= "table" then return nil end
    local out, mid = number(v.projector_output_dim, 4096), number(v.intermediate_size, 5632)
    return {
      weights = blocks.vision(v, { projector = "none" }) + mid * out + out * out
        + number(v.vision_output_dim, 7680) * m.hidden,
      what = "vision tower and projector",
    }
  end,
})
shell({ "voxtral", "qwen2_audio", "ultravox" }, under_language_model {
  of = "qwen2",
  passed = function(m)
    local a = m.root.audio_config
    if type(a) ~= "table" then return nil end
    return { weights = blocks.vision(a, { projector = "linear", text = m.hidden }),
             what = "audio tower and projector" }
  end,
})
shell({ "minicpmv", "minicpmo" }, { of = "qwen2", prefix = "llm.model.", head = "llm.lm_head" })
shell({ "mistral_large4" }, under_language_model { of = "mistral4", vision = { gated = true } })

-- Cosmos 3: Qwen3-VL whose attention has names of Diffusers, without a prefix.
family {
  types = { "cosmos3_omni" },
  defaults = { head_dim = 128 },
  beside = blocks.beside("self_attn.norm_q", "self_attn.norm_k"),
  prefix = "", head = "lm_head",
  block = function(m)
    local names = { q = "to_q", k = "to_k", v = "to_v", o = "to_out" }
    local list = attention(m, m.attention_bias == 1, m.attention_bias == 1)
    for _, l in ipairs(list) do l.tensor = "self_attn." .. names[l.role] end
    return mlp(m, list, false)
  end,
  extra = function(m) return 2 * m.hidden + 2 * m.head_dim end,
  passed = blocks.passed_vision(merger),
}

like({ "qwen2_vl_text", "qwen2_5_vl_text" }, "qwen2")
like({ "qwen3_vl_text" }, "qwen3")
like({ "qwen2_5_omni_text" }, "qwen2")
like({ "qwen3_omni_moe_text" }, "qwen3_moe")
like({ "glm4v_text", "glm46v_text", "glm_ocr_text" }, "glm4")
like({ "paddleocr_vl_text" }, "ernie4_5")
like({ "granite_docling_text" }, "granite")
like({ "emu3_text_model" }, "llama")
like({ "unlimited_ocr_text" }, "deepseek")
like({ "hy_v4_vl_text" }, "hy_v4")

-- Llama 3.2 Vision: some layers attend to the image alone, whose states k and v read.
family {
  types = { "mllama", "mllama_text_model" },
  beside = blocks.beside(),
  prefix = "language_model.model.", head = "language_model.lm_head",
  block = function(m)
    local q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
    return {
      layers = blocks.layers(m, function(i)
        return blocks.contains(m.config.cross_attention_layers, i) and "cross" or "own"
      end),
      kind = {
        own = mlp(m, attention(m, false, false), false),
        cross = mlp(m, {
          linear("q", "cross q", "cross_attn.q_proj", q, m.hidden),
          linear("k", "cross kv", "cross_attn.k_proj", kv, m.hidden),
          linear("v", "cross kv", "cross_attn.v_proj", kv, m.hidden),
          linear("o", "o", "cross_attn.o_proj", m.hidden, q),
        }, false),
      },
    }
  end,
  extra = function(m)
    return { own = 2 * m.hidden, cross = 2 * m.hidden + 2 * m.head_dim + 2 }
  end,
  once = function(m) return m.hidden + 8 * m.hidden end, -- and rows of the embedding for images
  passed = function(m)
    local v = m.root.vision_config
    if type(v) ~= "table" then return nil end
    local h = number(v.hidden_size, 1280)
    local block = 4 * h * h + 2 * h * number(v.intermediate_size, 4 * h) + 10 * h
    local layers = number(v.num_hidden_layers, 32) + number(v.num_global_layers, 8)
    local places = (number(v.image_size, 560) // number(v.patch_size, 14)) ^ 2 + 1
    local tiles = number(v.max_num_tiles, 4)
    local listed = v.supported_aspect_ratios
    local ratios = (type(listed) == "table" and #listed or 8) + 1
    local n = layers * block + ratios * tiles * places * h
      + number(v.vision_output_dim, 7680) * m.hidden
    return { weights = math.tointeger(n // 1), what = "vision tower and projector" }
  end,
}
