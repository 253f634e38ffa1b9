-- Decoders with routed experts.

local linear, attention, mlp = blocks.linear, blocks.attention, blocks.mlp
local experts, mlp_of, sparse = blocks.experts, blocks.mlp_of, blocks.sparse
local number, first, join, contains = blocks.number, blocks.first, blocks.join, blocks.contains
local beside, beside_qk, routed = blocks.beside, blocks.beside_qk, blocks.beside_experts

-- Experts' numbers in every spelling: how many there are, how many a token uses, their width.
local function sizes(m)
  local c = m.config
  return {
    experts = first(c, { "num_local_experts", "num_experts", "n_routed_experts",
                         "moe_num_experts" }, 8),
    active = first(c, { "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k",
                        "top_k_experts", "moe_top_k", "num_selected_experts" }, 2),
    rows = first(c, { "moe_intermediate_size", "expert_intermediate_size" }, m.intermediate),
  }
end
blocks.expert_sizes = sizes

-- A router stays as it is: a score an expert, and with 'bias' a correction beside it.
local function router(m, bias)
  local e = sizes(m).experts
  return e * m.hidden + (bias and e or 0)
end
blocks.router = router

local whole = { gate_up = "mlp.experts.gate_up_proj", down = "mlp.experts.down_proj" }
blocks.whole_experts = whole

local function moe(m, o)
  o = o or {}
  local s = sizes(m)
  return experts(m, {}, {
    path = o.path or "mlp", gate = o.gate, up = o.up, down = o.down, rows = o.rows or s.rows,
    experts = s.experts, active = s.active, stack = o.stack or whole, transposed = o.transposed,
    interleaved = o.interleaved, bias = o.bias,
  })
end
blocks.moe = moe

-- Experts that every token goes through, beside the routed ones: one MLP of their joint width.
local function shared(m, path, rows, o)
  if not rows or rows <= 0 then return {} end
  o = o or {}
  o.role = "shared_"
  return mlp_of(m, {}, path, rows, o)
end
blocks.shared = shared

local function qk_norms(m) return 2 * m.head_dim end
local function wide_norms(m) return (m.heads + m.kv_heads) * m.head_dim end

-- ---- Mixtral's names: w1 the gate, w3 up, w2 down ----

-- Names of llama.cpp for them.
local function gguf_experts(path, names, router_name, more)
  local all = {
    ffn_gate_exps = path .. ".experts.*." .. names.gate,
    ffn_up_exps = path .. ".experts.*." .. names.up,
    ffn_down_exps = path .. ".experts.*." .. names.down, ffn_gate_inp = path .. "." .. router_name,
  }
  for there, here in pairs(more or {}) do all[there] = here end
  return blocks.gguf_block(all)
end
blocks.gguf_experts = gguf_experts
local usual = { gate = "gate_proj", up = "up_proj", down = "down_proj" }

local w = { path = "block_sparse_moe", gate = "w1", up = "w3", down = "w2" }
family {
  types = { "mixtral" },
  beside = beside(routed("block_sparse_moe.gate")),
  prefix = "model.", head = "lm_head",
  block = function(m) return join(attention(m, false, false), moe(m, w)) end,
  extra = function(m) return 2 * m.hidden + router(m) end,
  gguf = { architecture = "llama", experts = true, reorders = blocks.reordered,
           model = blocks.gguf_model, block = gguf_experts("block_sparse_moe", w, "gate") },
}
family {
  types = { "minimax_m2" },
  beside = beside(routed("block_sparse_moe.gate")),
  prefix = "model.", head = "lm_head",
  block = function(m) return join(attention(m, false, false), moe(m, w)) end,
  extra = function(m)
    return 2 * m.hidden + router(m, true) + (m.config.use_qk_norm ~= false and wide_norms(m) or 0)
  end,
}
family {
  types = { "phimoe" },
  defaults = { attention_bias = 1 },
  beside = beside(routed("block_sparse_moe.gate")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local bias = m.attention_bias == 1
    return join(attention(m, bias, bias), moe(m, w))
  end,
  extra = function(m) return 4 * m.hidden + router(m) end,
  once = function(m) return 2 * m.hidden + (m.config.lm_head_bias and m.vocab or 0) end,
}

-- ---- Qwen's names ----

-- Layer i (from 0) of Qwen2-MoE and Qwen3-MoE is dense where the config lists it, or not every
-- layer is sparse.
local function qwen_dense(m)
  local c = m.config
  local step = number(c.decoder_sparse_step, 1)
  return function(i)
    return contains(c.mlp_only_layers, i) or (step > 1 and (i + 1) % step ~= 0)
      or first(c, { "num_experts", "num_local_experts" }, 1) == 0
  end
end
blocks.qwen_dense = qwen_dense

-- Weights beside the linears of dense blocks, and what sparse ones have more.
local function by_kind(dense, sparse_more)
  return function(m)
    local d = dense(m)
    return { dense = d, sparse = d + sparse_more(m) }
  end
end

blocks.by_kind = by_kind

local function qwen3_moe(o)
  return {
    block = function(m)
      local bias = m.attention_bias == 1
      return sparse(m, qwen_dense(m), attention(m, bias, bias),
                    function() return mlp(m, {}, false) end,
                    function() return moe(m, o) end)
    end,
    extra = by_kind(function(m) return 2 * m.hidden + qk_norms(m) end, router),
  }
end
local qwen3 = qwen3_moe()
family {
  types = { "qwen3_moe" },
  beside = beside_qk(routed("mlp.gate")),
  prefix = "model.", head = "lm_head",
  block = qwen3.block, extra = qwen3.extra,
  gguf = { architecture = "qwen3moe", experts = true, model = blocks.gguf_model,
           block = gguf_experts("mlp", usual, "gate") },
}
local vl = qwen3_moe { transposed = true }
family { -- of Qwen3-VL; experts lie as [in, out]
  types = { "qwen3_vl_moe_text" },
  defaults = { head_dim = 128 },
  beside = beside_qk(routed("mlp.gate")),
  prefix = "model.", head = "lm_head",
  block = vl.block, extra = vl.extra,
}
family {
  types = { "qwen2_moe" },
  beside = beside(routed("mlp.gate"), { of = "shared_up", "mlp.shared_expert_gate" }),
  prefix = "model.", head = "lm_head",
  block = function(m)
    return sparse(m, qwen_dense(m), attention(m, m.config.qkv_bias ~= false, false),
                  function() return mlp(m, {}, false) end,
                  function()
                    return join(moe(m), shared(m, "mlp.shared_expert.",
                                               number(m.config.shared_expert_intermediate_size)))
                  end)
  end,
  extra = by_kind(function(m) return 2 * m.hidden end,
                  function(m) return router(m) + m.hidden end),
  gguf = { architecture = "qwen2moe", experts = true, model = blocks.gguf_model,
           block = gguf_experts("mlp", usual, "gate", {
             ffn_gate_shexp = "mlp.shared_expert.gate_proj",
             ffn_up_shexp = "mlp.shared_expert.up_proj",
             ffn_down_shexp = "mlp.shared_expert.down_proj",
             ffn_gate_inp_shexp = "mlp.shared_expert_gate",
           }) },
}
family {
  types = { "olmoe", "flex_olmo" },
  beside = function(m)
    if m.root.model_type == "olmoe" then return beside_qk(routed("mlp.gate")) end
    return join(blocks.norms_behind, { routed("mlp.gate") })
  end,
  gguf = { architecture = "olmoe", experts = true, model = blocks.gguf_model,
           block = gguf_experts("mlp", usual, "gate") },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local bias = m.attention_bias == 1
    return join(attention(m, bias, bias), moe(m))
  end,
  extra = function(m) return 2 * m.hidden + wide_norms(m) + router(m) end,
}

-- ---- DeepSeek's and those of its kind: first dense layers, shared experts ----

local function first_dense(m)
  local c = m.config
  local k = first(c, { "first_k_dense_replace", "num_dense_layers" }, 0)
  local step = number(c.moe_layer_freq, 1)
  local types = c.mlp_layer_types
  return function(i)
    if type(types) == "table" then return types[i + 1] == "dense" end
    return i < k or (step > 1 and i % step ~= 0)
  end
end
blocks.first_dense = first_dense

local function shared_rows(m)
  return number(m.config.n_shared_experts, number(m.config.num_shared_experts, 0)) * sizes(m).rows
end

local function deepseek(types, o)
  o = o or {}
  family {
    types = types, names = o.names, defaults = o.defaults,
    prefix = "model.", head = "lm_head", gguf = o.gguf,
    beside = (o.qk and beside_qk or beside)(routed("mlp.gate"), blocks.beside_mla("self_attn")),
    block = function(m)
      return sparse(m, first_dense(m), o.attention(m),
                    function() return mlp(m, {}, false) end,
                    function() return join(moe(m), shared(m, "mlp.shared_experts.", shared_rows(m)))
                    end)
    end,
    extra = by_kind(function(m) return 2 * m.hidden + o.extra(m) end,
                    function(m) return router(m, o.corrected ~= false) end),
  }
end
blocks.deepseek = deepseek
deepseek({ "deepseek_v2" }, { attention = blocks.mla, extra = blocks.mla_extra, corrected = false })
deepseek({ "deepseek_v3", "kimi_k2", "glm4_moe_lite" },
         { attention = blocks.mla, extra = blocks.mla_extra })

local function indexer(m)
  return { heads = number(m.config.index_n_heads, 64), dim = number(m.config.index_head_dim, 128) }
end
deepseek({ "deepseek_v32" }, {
  attention = function(m) return blocks.mla(m, indexer(m)) end,
  extra = function(m) return blocks.mla_extra(m, indexer(m)) end,
})

-- Only layers that are "full" have an indexer of their own; others take an earlier one's choice.
local function owns_indexer(m)
  local c = m.config
  local freq, offset = number(c.index_topk_freq, 1), number(c.index_skip_topk_offset, 0)
  return function(i)
    if type(c.indexer_types) == "table" then return c.indexer_types[i + 1] == "full" end
    return i < offset or freq <= 1 or (i - offset) % freq == 0
  end
end
family {
  types = { "glm_moe_dsa" },
  beside = beside(routed("mlp.gate"), blocks.beside_mla("self_attn")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local dense, owns = first_dense(m), owns_indexer(m)
    local function kind(own, rest) return join(blocks.mla(m, own and indexer(m) or nil), rest) end
    local d = mlp(m, {}, false)
    local s = join(moe(m), shared(m, "mlp.shared_experts.", shared_rows(m)))
    return {
      layers = blocks.layers(m, function(i)
        return (dense(i) and "dense" or "sparse") .. (owns(i) and "_index" or "")
      end),
      kind = { dense = kind(false, d), sparse = kind(false, s), dense_index = kind(true, d),
               sparse_index = kind(true, s) },
    }
  end,
  extra = function(m)
    local plain = 2 * m.hidden + blocks.mla_extra(m)
    local own = 2 * m.hidden + blocks.mla_extra(m, indexer(m))
    return { dense = plain, sparse = plain + router(m, true), dense_index = own,
             sparse_index = own + router(m, true) }
  end,
}

local function heads_with_norms(m)
  local bias = m.attention_bias == 1
  return attention(m, bias, false)
end
-- Norms of q and k: where the config asks for them.
deepseek({ "glm4_moe", "glm4v_moe_text" }, {
  attention = heads_with_norms,
  extra = function(m) return m.config.use_qk_norm and qk_norms(m) or 0 end,
})
deepseek({ "dots1" }, { attention = heads_with_norms, extra = qk_norms, qk = true })
deepseek({ "solar_open" }, {
  defaults = { intermediate = 1 }, attention = heads_with_norms, extra = function() return 0 end,
})
deepseek({ "exaone_moe" }, { attention = heads_with_norms, extra = qk_norms, qk = true })

-- Ernie: its own spellings, one run of sparse layers.
family {
  types = { "ernie4_5_moe" },
  defaults = { tied = 1 },
  beside = beside(routed("mlp.gate")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c = m.config
    local from, to = number(c.moe_layer_start_index, 1), number(c.moe_layer_end_index, -1)
    if to < 0 then to = m.layers - 1 end
    local bias, step = c.use_bias and true or false, number(c.moe_layer_interval, 1)
    return sparse(m, function(i) return i < from or i > to or (i + 1) % step ~= 0 end,
                  attention(m, bias, bias), function() return mlp(m, {}, bias) end,
                  function()
                    return join(moe(m), shared(m, "mlp.shared_experts.",
                                               number(c.moe_num_shared_experts, 0) * sizes(m).rows))
                  end)
  end,
  extra = by_kind(function(m) return 2 * m.hidden end, function(m) return router(m, true) end),
}
family {
  types = { "hunyuan_v1_moe", "hunyuan" },
  defaults = { tied = 1 },
  beside = beside(routed("mlp.gate.wg")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local bias = m.attention_bias == 1
    local beside = first(m.config, { "num_shared_expert" }, 1)
    return join(attention(m, bias, bias), moe(m),
                shared(m, "mlp.shared_mlp.", beside * m.intermediate))
  end,
  extra = function(m) return 2 * m.hidden + qk_norms(m) + router(m) end,
}

-- Mistral Large 3 and Small 4: MLA and experts in DeepSeek's names.
deepseek({ "mistral4" }, { attention = blocks.mla, extra = blocks.mla_extra, corrected = false })

-- AFMoE (Trinity): four norms, a gate on attention's output.
family {
  types = { "afmoe" },
  beside = beside_qk("pre_mlp_layernorm", "post_mlp_layernorm", routed("mlp.router.gate")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c, rows = m.config, sizes(m).rows
    local a = attention(m, false, false)
    table.insert(a, 4, linear("attn_gate", "qkv", "self_attn.gate_proj", m.heads * m.head_dim,
                              m.hidden))
    return sparse(m, first_dense(m), a, function() return mlp(m, {}, false) end,
                  function()
                    return join(moe(m), shared(m, "mlp.shared_experts.",
                                               number(c.num_shared_experts, 0) * rows))
                  end)
  end,
  extra = by_kind(function(m) return 4 * m.hidden + qk_norms(m) end,
                  function(m) return router(m, true) end),
}

-- Hunyuan 3: a shared MLP as wide as one expert.
family {
  types = { "hy_v3" },
  beside = beside_qk(routed("mlp.router.gate")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    return sparse(m, first_dense(m), attention(m, false, false),
                  function() return mlp(m, {}, false) end,
                  function() return join(moe(m), shared(m, "mlp.shared_mlp.", sizes(m).rows)) end)
  end,
  extra = by_kind(function(m) return 2 * m.hidden + qk_norms(m) end,
                  function(m) return router(m, true) end),
}

-- MiniMax-01 and M1: attention of linear cost in most layers.
family {
  types = { "minimax", "minimax_text_01", "minimax_m1", "MiniMaxText01", "MiniMaxM1" },
  beside = beside(routed("block_sparse_moe.gate"), { of = "attn_gate", "self_attn.norm" }),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c, d = m.config, m.heads * m.head_dim
    local rest = moe(m, w)
    return {
      layers = blocks.layers(m, function(i)
        local full = (type(c.attn_type_list) == "table" and c.attn_type_list[i + 1] == 1)
          or (type(c.layer_types) == "table" and c.layer_types[i + 1] == "full_attention")
        return full and "full" or "lightning"
      end),
      kind = {
        full = join(attention(m, false, false), rest),
        lightning = join({
          blocks.qkv(linear("qkv", "qkv", "self_attn.qkv_proj", 3 * d, m.hidden), m,
                     { kv_heads = m.heads, turns = m.heads }),
          linear("attn_gate", "qkv", "self_attn.output_gate", d, m.hidden),
          linear("o", "o", "self_attn.out_proj", m.hidden, d),
        }, rest),
      },
    }
  end,
  extra = function(m)
    local all = 2 * m.hidden + router(m)
    return { full = all, lightning = all + m.heads * m.head_dim }
  end,
}
