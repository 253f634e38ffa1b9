-- Decoders of equal blocks beside those of lua/architectures.lua.

local linear, attention, mlp = blocks.linear, blocks.attention, blocks.mlp
local mlp_of, number, join = blocks.mlp_of, blocks.number, blocks.join
local beside = blocks.beside

local function norms(n) return function(m) return n * m.hidden end end

-- Llama's names and shapes; what varies: norms, biases.
local function like_llama(types, o)
  o = o or {}
  family {
    types = types, defaults = o.defaults, names = o.names, forward = o.forward,
    prefix = o.prefix or "model.", head = o.head or "lm_head", blocks = o.blocks,
    embedding = o.embedding, headed = o.headed,
    block = o.block or function(m)
      local bias = o.bias
      if bias == nil then bias = m.attention_bias == 1 end
      local out = o.out_bias
      if out == nil then out = bias end
      return mlp(m, attention(m, bias, out), m.mlp_bias == 1)
    end,
    extra = o.extra or norms(o.norms or 2), once = o.once, passed = o.passed,
    beside = o.beside or beside(), last = o.last,
  }
end

blocks.like_llama = like_llama

like_llama { "granite", "internlm3", "xverse", "aquila", "Yi", "ministral", "ministral3", "cwm" }
like_llama({ "minicpm" }, { defaults = { tied = 1 } })
like_llama({ "mimo" }, {
  defaults = { attention_bias = 1 }, out_bias = false,
  passed = function(m) -- layers that predict further tokens: a block, and what joins two states
    local n, h = number(m.config.num_nextn_predict_layers, 0), m.hidden
    local block = (2 * m.heads + 2 * m.kv_heads) * m.head_dim * h + 3 * h * m.intermediate
    return { weights = n * (block + 2 * h * h), what = "layers that predict further tokens" }
  end,
})
like_llama({ "seed_oss" }, { defaults = { attention_bias = 1 }, out_bias = false })
like_llama({ "hunyuan_v1_dense" }, {
  defaults = { tied = 1 },
  extra = function(m) return 2 * m.hidden + 2 * m.head_dim end,
})
like_llama({ "ernie4_5" }, { defaults = { tied = 1, head_dim = 128 }, bias = false })
like_llama({ "internlm" }, { bias = true })
like_llama({ "helium" }, { bias = false })
-- Norms behind attention and MLP, and of q and k.
local behind = { "post_attention_layernorm", "post_feedforward_layernorm", "self_attn.q_norm",
                 "self_attn.k_norm" }
blocks.norms_behind = behind
like_llama({ "exaone4" }, {
  extra = function(m) return 2 * m.hidden + 2 * m.head_dim end, beside = behind,
})
like_llama({ "olmo" }, { norms = 0, once = function() return 0 end, beside = {} })
like_llama({ "olmo2", "olmo3" }, {
  beside = behind,
  extra = function(m) return 2 * m.hidden + (m.heads + m.kv_heads) * m.head_dim end,
})
like_llama({ "cohere" }, {
  defaults = { tied = 1 }, beside = { "input_layernorm" },
  extra = function(m)
    local qk = m.config.use_qk_norm and (m.heads + m.kv_heads) * m.head_dim or 0
    return m.hidden + qk
  end,
})
like_llama({ "cohere2" }, {
  defaults = { tied = 1 }, norms = 1, beside = { "input_layernorm" },
})
like_llama({ "stablelm", "stablelm_epoch" }, {
  block = function(m)
    return mlp(m, attention(m, m.config.use_qkv_bias and true or false, false), false)
  end,
  extra = function(m)
    local qk = m.config.qk_layernorm and (m.heads + m.kv_heads) * m.head_dim or 0
    return (m.config.use_parallel_residual and 2 or 4) * m.hidden + qk
  end,
  once = function(m) return 2 * m.hidden end,
  beside = function(m)
    return m.config.use_parallel_residual and { "input_layernorm" } or beside()
  end,
})
like_llama({ "orion" }, { norms = 4, once = function(m) return 2 * m.hidden end })
like_llama({ "eurobert" }, { defaults = { head_dim = 64 } })
like_llama({ "vaultgemma" }, {
  defaults = { tied = 1, head_dim = 256 },
  beside = { "input_layernorm", "pre_feedforward_layernorm" },
})
like_llama({ "bitnet" }, {
  defaults = { tied = 1 }, beside = beside("self_attn.attn_sub_norm", "mlp.ffn_sub_norm"),
  extra = function(m) return 3 * m.hidden + m.intermediate end,
})

-- Without a gate: up, an activation, down.
local function ungated(bias)
  return function(m)
    local a = m.attention_bias == 1
    return mlp_of(m, attention(m, a, a), "mlp.", m.intermediate,
                  { names = { gate = false }, bias = bias and bias(m), group = "up" })
  end
end
blocks.ungated = ungated
local function mlp_bias(m) return m.mlp_bias == 1 end
like_llama({ "arcee" }, { block = ungated(mlp_bias) })
like_llama({ "nemotron" }, { block = ungated(mlp_bias), norms = 4,
                             once = function(m) return 2 * m.hidden end })
local apertus = { "attention_layernorm", "feedforward_layernorm", "self_attn.q_norm",
                  "self_attn.k_norm" }
blocks.apertus_norms = apertus
like_llama({ "apertus" }, {
  block = ungated(), beside = apertus,
  extra = function(m) return 2 * m.hidden + 2 * m.head_dim + 4 end,
})

-- gate|up as one matrix, in GLM's names.
local function glm(m)
  local q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
  local bias = m.attention_bias == 1
  return {
    linear("q", "qkv", "self_attn.q_proj", q, m.hidden, bias),
    linear("k", "qkv", "self_attn.k_proj", kv, m.hidden, bias),
    linear("v", "qkv", "self_attn.v_proj", kv, m.hidden, bias),
    linear("o", "o", "self_attn.o_proj", m.hidden, q),
    blocks.gate_up(linear("gate_up", "up-gate", "mlp.gate_up_proj", 2 * m.intermediate, m.hidden)),
    linear("down", "down", "mlp.down_proj", m.hidden, m.intermediate),
  }
end
blocks.glm = glm
like_llama({ "glm" }, { block = glm, defaults = { attention_bias = 1 } })
like_llama({ "glm4" }, {
  block = glm, norms = 4, beside = beside("post_self_attn_layernorm", "post_mlp_layernorm"),
})

-- MLA with a dense MLP.
like_llama({ "minicpm3" }, {
  defaults = { tied = 1 }, beside = beside(blocks.beside_mla("self_attn")),
  block = function(m) return mlp(m, blocks.mla(m), false) end,
  extra = function(m) return 2 * m.hidden + blocks.mla_extra(m) end,
})

-- q|k|v in one matrix, in names of their own.  turns(m): how often they alternate, alternate: gate
-- and up do so row by row.
local function packed(o)
  return function(m)
    local q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
    local up = {
      blocks.gate_up(linear("gate_up", "up-gate", o.gate_up or "", 2 * m.intermediate, m.hidden),
                     { alternate = o.alternate }),
    }
    if not o.gate_up then
      up = { linear("up", "up-gate", o.up, m.intermediate, m.hidden, o.mlp_bias and o.mlp_bias(m)) }
      if o.gate then
        up[2] = linear("gate", "up-gate", o.gate, m.intermediate, m.hidden)
      end
    end
    return join({
      blocks.qkv(linear("qkv", "qkv", o.qkv, q + 2 * kv, m.hidden, o.bias and o.bias(m)), m,
                 { turns = o.turns and o.turns(m) }),
      linear("o", "o", o.o, m.hidden, q, o.out_bias and o.out_bias(m)),
    }, up, { linear("down", "down", o.down, m.hidden, m.intermediate,
                    o.mlp_bias and o.mlp_bias(m)) })
  end
end
local function yes() return true end
local function by_head(m) return m.heads end
local function by_key_head(m) return m.kv_heads end

-- Of families that transformers lacks the order of rows is that of their publishers' own classes:
-- thirds, as modeling_baichuan.py (Baichuan2-13B-Chat) has them.
like_llama({ "baichuan" }, {
  block = packed { qkv = "self_attn.W_pack", o = "self_attn.o_proj", up = "mlp.up_proj",
                   gate = "mlp.gate_proj", down = "mlp.down_proj" },
})
-- Each head of keys and values behind its heads of q; w1 is gate (modeling_internlm2.py).
like_llama({ "internlm2" }, {
  head = "output", embedding = "model.tok_embeddings", beside = { "attention_norm", "ffn_norm" },
  block = packed { qkv = "attention.wqkv", turns = by_key_head, o = "attention.wo",
                   up = "feed_forward.w3", gate = "feed_forward.w1", down = "feed_forward.w2",
                   bias = function(m) return m.config.bias == true end,
                   out_bias = function(m) return m.config.bias == true end },
})
-- q|k|v, or head by head without multi_query_attention; gate before up (modeling_chatglm.py of
-- THUDM/LongAlign).
like_llama({ "chatglm" }, {
  headed = true, -- ChatGLMModel too has an lm_head
  last = "final_layernorm",
  prefix = "transformer.encoder.", head = "transformer.output_layer",
  embedding = "transformer.embedding.word_embeddings",
  names = { layers = "num_layers", vocab = "padded_vocab_size", intermediate = "ffn_hidden_size",
            kv_heads = "multi_query_group_num", head_dim = "kv_channels" },
  block = packed { qkv = "self_attention.query_key_value", o = "self_attention.dense",
                   gate_up = "mlp.dense_h_to_4h", down = "mlp.dense_4h_to_h",
                   turns = function(m)
                     return m.config.multi_query_attention == false and m.heads or 1
                   end,
                   bias = function(m)
                     return m.config.add_qkv_bias or m.config.add_bias_linear
                   end },
})
family {
  types = { "qwen" }, -- the first; its intermediate_size counts both halves; w2 is gate
                      -- (modeling_qwen.py of QwenLM/Qwen-Audio)
  names = { head_dim = "kv_channels" },
  beside = { "ln_1", "ln_2" }, last = "ln_f",
  prefix = "transformer.", blocks = "h", embedding = "transformer.wte", head = "lm_head",
  block = function(m)
    local q, half = m.heads * m.head_dim, m.intermediate // 2
    return {
      blocks.qkv(linear("qkv", "qkv", "attn.c_attn", 3 * q, m.hidden, true), m,
                 { kv_heads = m.heads }),
      linear("o", "o", "attn.c_proj", m.hidden, q),
      linear("up", "up-gate", "mlp.w1", half, m.hidden),
      linear("gate", "up-gate", "mlp.w2", half, m.hidden),
      linear("down", "down", "mlp.c_proj", m.hidden, half),
    }
  end,
  extra = norms(2),
}
family {
  types = { "exaone" },
  names = { layers = "num_layers" },
  beside = { "ln_1", "ln_2" }, last = "ln_f",
  prefix = "transformer.", blocks = "h", embedding = "transformer.wte", head = "lm_head",
  block = function(m)
    local q, kv, f = m.heads * m.head_dim, m.kv_heads * m.head_dim, m.intermediate
    return {
      linear("q", "qkv", "attn.attention.q_proj", q, m.hidden),
      linear("k", "qkv", "attn.attention.k_proj", kv, m.hidden),
      linear("v", "qkv", "attn.attention.v_proj", kv, m.hidden),
      linear("o", "o", "attn.attention.out_proj", m.hidden, q),
      linear("up", "up-gate", "mlp.c_fc_1", f, m.hidden),
      linear("gate", "up-gate", "mlp.c_fc_0", f, m.hidden),
      linear("down", "down", "mlp.c_proj", m.hidden, f),
    }
  end,
  extra = norms(2),
}
family {
  types = { "phi3small" }, -- q, k and v by heads of keys, gate and up row by row: even rows are
                           -- gate's (phi3_small.py of vLLM)
  names = { intermediate = "ff_intermediate_size" },
  defaults = { tied = 1 },
  beside = beside(), last = "final_layernorm",
  prefix = "model.", head = "lm_head",
  block = packed { qkv = "self_attn.query_key_value", o = "self_attn.dense",
                   turns = by_key_head, gate_up = "mlp.up_proj", alternate = true,
                   down = "mlp.down_proj", bias = yes, out_bias = yes },
  extra = function(m) return 4 * m.hidden + 2 * m.intermediate + m.hidden end,
  once = function(m) return 2 * m.hidden end,
}
family {
  types = { "phi3_v", "phi4mm" }, -- with towers for images, and sound
  beside = beside(),
  prefix = "model.", head = "lm_head",
  block = packed { qkv = "self_attn.qkv_proj", o = "self_attn.o_proj",
                   gate_up = "mlp.gate_up_proj", down = "mlp.down_proj" },
  extra = norms(2),
  passed = function(m) -- as published: their sizes are in no config
    local phi4 = m.root.model_type == "phi4mm"
    return { weights = phi4 and 1730000000 or 304000000 + (4096 + m.hidden) * m.hidden,
             what = phi4 and "towers for images and sound, their adapters (about 1.73 G)"
               or "vision tower and projector" }
  end,
}

-- ---- Before gates and rotary embeddings were everywhere ----

family {
  types = { "gpt_neox" },
  beside = beside(), last = "final_layer_norm",
  prefix = "gpt_neox.", embedding = "gpt_neox.embed_in", head = "embed_out",
  block = packed { qkv = "attention.query_key_value", turns = by_head, o = "attention.dense",
                   up = "mlp.dense_h_to_4h", down = "mlp.dense_4h_to_h", bias = yes,
                   out_bias = yes, mlp_bias = yes },
  extra = norms(4), once = function(m) return 2 * m.hidden end,
}
family {
  types = { "falcon", "RefinedWeb", "RefinedWebModel" },
  names = { heads = "n_head", layers = "n_layer", kv_heads = "num_kv_heads",
            intermediate = "ffn_hidden_size" },
  defaults = { tied = 1, intermediate = 1 },
  beside = function(m)
    local c = m.config
    if c.new_decoder_architecture and number(c.num_ln_in_parallel_attn, 2) == 2 then
      return { "ln_attn", "ln_mlp" }
    end
    return c.parallel_attn == false and beside() or { "input_layernorm" }
  end,
  last = "ln_f",
  prefix = "transformer.", blocks = "h", embedding = "transformer.word_embeddings",
  head = "lm_head",
  block = function(m)
    local c = m.config
    local kv = c.new_decoder_architecture and number(c.num_kv_heads, number(c.n_head_kv, m.heads))
      or c.multi_query ~= false and 1 or m.heads
    local bias, f = c.bias and true or false, number(c.ffn_hidden_size, 4 * m.hidden)
    return {
      blocks.qkv(linear("qkv", "qkv", "self_attention.query_key_value",
                        (m.heads + 2 * kv) * m.head_dim, m.hidden, bias), m,
                 { kv_heads = kv, turns = kv }),
      linear("o", "o", "self_attention.dense", m.hidden, m.heads * m.head_dim, bias),
      linear("up", "up", "mlp.dense_h_to_4h", f, m.hidden, bias),
      linear("down", "down", "mlp.dense_4h_to_h", m.hidden, f, bias),
    }
  end,
  extra = function(m)
    return (m.config.new_decoder_architecture or not m.config.parallel_attn) and 4 * m.hidden
      or 2 * m.hidden
  end,
  once = function(m) return 2 * m.hidden end,
}
like_llama({ "starcoder2" }, {
  defaults = { tied = 1 },
  block = function(m)
    local bias = m.config.use_bias ~= false
    return mlp_of(m, attention(m, bias, bias), "mlp.", m.intermediate,
                  { names = { gate = false, up = "c_fc", down = "c_proj" }, bias = bias,
                    group = "up" })
  end,
  norms = 4, once = function(m) return 2 * m.hidden end,
})
like_llama({ "phi" }, {
  beside = { "input_layernorm" }, last = "final_layernorm",
  block = function(m)
    local list = attention(m, true)
    list[4] = linear("o", "o", "self_attn.dense", m.hidden, m.heads * m.head_dim, true)
    return mlp_of(m, list, "mlp.", m.intermediate,
                  { names = { gate = false, up = "fc1", down = "fc2" }, bias = true, group = "up" })
  end,
  norms = 2, once = function(m) return 2 * m.hidden + m.vocab end,
})
family {
  types = { "opt" },
  names = { intermediate = "ffn_dim" },
  defaults = { tied = 1 },
  beside = { "self_attn_layer_norm", "final_layer_norm" },
  last = function(m) -- of the one with norms behind attention and MLP none
    local c = m.config
    return c.do_layer_norm_before ~= false and not c._remove_final_layer_norm
      and "final_layer_norm"
  end,
  prefix = "model.decoder.", head = "lm_head",
  block = function(m)
    local h, f, bias = m.hidden, m.intermediate, m.config.enable_bias ~= false
    return {
      linear("q", "qkv", "self_attn.q_proj", h, h, bias),
      linear("k", "qkv", "self_attn.k_proj", h, h, bias),
      linear("v", "qkv", "self_attn.v_proj", h, h, bias),
      linear("o", "o", "self_attn.out_proj", h, h, bias),
      linear("up", "up", "fc1", f, h, bias),
      linear("down", "down", "fc2", h, f, bias),
    }
  end,
  extra = norms(4),
  once = function(m)
    return 2 * m.hidden + (number(m.config.max_position_embeddings, 2048) + 2) * m.hidden
  end,
}
family {
  types = { "bloom" },
  names = { hidden = "n_embed", layers = "n_layer", heads = "n_head" },
  defaults = { tied = 1, intermediate = 1 },
  beside = beside(), last = "ln_f",
  prefix = "transformer.", blocks = "h", embedding = "transformer.word_embeddings",
  head = "lm_head",
  block = function(m)
    local h = m.hidden
    return {
      blocks.qkv(linear("qkv", "qkv", "self_attention.query_key_value", 3 * h, h, true), m,
                 { kv_heads = m.heads, turns = m.heads }),
      linear("o", "o", "self_attention.dense", h, h, true),
      linear("up", "up", "mlp.dense_h_to_4h", 4 * h, h, true),
      linear("down", "down", "mlp.dense_4h_to_h", h, 4 * h, true),
    }
  end,
  extra = norms(4), once = function(m) return 4 * m.hidden end,
}
family {
  types = { "mpt" },
  names = { hidden = "d_model", layers = "n_layers", heads = "n_heads" },
  defaults = { tied = 1, intermediate = 1 },
  beside = { "norm_1", "norm_2" }, last = "norm_f",
  prefix = "transformer.", blocks = "blocks", embedding = "transformer.wte", head = "lm_head",
  block = function(m)
    local h, f = m.hidden, number(m.config.expansion_ratio, 4) * m.hidden
    return {
      blocks.qkv(linear("qkv", "qkv", "attn.Wqkv", 3 * h, h), m, { kv_heads = m.heads }),
      linear("o", "o", "attn.out_proj", h, h),
      linear("up", "up", "ffn.up_proj", f, h), linear("down", "down", "ffn.down_proj", h, f),
    }
  end,
  extra = norms(2),
}
family {
  types = { "gptj", "codegen" },
  names = { hidden = "n_embd", layers = "n_layer", heads = "n_head", intermediate = "n_inner" },
  defaults = { intermediate = 1 },
  beside = { "ln_1" }, last = "ln_f",
  prefix = "transformer.", blocks = "h", embedding = "transformer.wte", head = "lm_head",
  block = function(m)
    local h = m.hidden
    local f = number(m.config.n_inner, 4 * h)
    local qkv = {
      linear("q", "qkv", "attn.q_proj", h, h), linear("k", "qkv", "attn.k_proj", h, h),
      linear("v", "qkv", "attn.v_proj", h, h),
    }
    if m.root.model_type == "codegen" then
      qkv = { blocks.qkv(linear("qkv", "qkv", "attn.qkv_proj", 3 * h, h), m,
                         { kv_heads = m.heads, turns = 4, order = { "q", "v", "k" } }) }
    end
    return join(qkv, {
      linear("o", "o", "attn.out_proj", h, h), linear("up", "up", "mlp.fc_in", f, h, true),
      linear("down", "down", "mlp.fc_out", h, f, true),
    })
  end,
  extra = norms(2), once = function(m) return 2 * m.hidden + m.vocab end,
}
family {
  types = { "gpt_bigcode" },
  names = { hidden = "n_embd", layers = "n_layer", heads = "n_head", intermediate = "n_inner" },
  defaults = { tied = 1, intermediate = 1 },
  beside = { "ln_1", "ln_2" }, last = "ln_f",
  prefix = "transformer.", blocks = "h", embedding = "transformer.wte", head = "lm_head",
  block = function(m)
    local h, f = m.hidden, number(m.config.n_inner, 4 * m.hidden)
    local multi = m.config.multi_query ~= false
    local kv = multi and m.head_dim or h
    return {
      blocks.qkv(linear("qkv", "qkv", "attn.c_attn", h + 2 * kv, h, true), m,
                 { kv_heads = multi and 1 or m.heads, turns = multi and 1 or m.heads }),
      linear("o", "o", "attn.c_proj", h, h, true), linear("up", "up", "mlp.c_fc", f, h, true),
      linear("down", "down", "mlp.c_proj", h, f, true),
    }
  end,
  extra = norms(4),
  once = function(m)
    return 2 * m.hidden + blocks.first(m.config, { "n_positions", "max_position_embeddings" }, 1024)
      * m.hidden
  end,
}
family {
  types = { "persimmon" },
  beside = beside(), last = "final_layernorm",
  prefix = "model.", head = "lm_head",
  block = packed { qkv = "self_attn.query_key_value", turns = by_head, o = "self_attn.dense",
                   up = "mlp.dense_h_to_4h", down = "mlp.dense_4h_to_h", bias = yes,
                   out_bias = yes, mlp_bias = yes },
  extra = function(m) return 4 * m.hidden + 4 * m.head_dim end,
  once = function(m) return 2 * m.hidden end,
}
family {
  types = { "gpt2", "openai-gpt" },
  refused = "its matrices are stored [in, out], by rows of the input, and are no linears of "
    .. "[out, in]: transpose them",
}
family {
  types = { "t5", "mt5", "umt5", "bart", "mbart", "pegasus", "whisper", "m2m_100", "marian", "led",
            "switch_transformers", "longt5", "blenderbot", "t5gemma", "speech_to_text" },
  refused = "an encoder and a decoder, two stacks of blocks, of which a plan knows one",
}
