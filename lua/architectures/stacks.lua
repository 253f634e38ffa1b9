-- Decoders with routed experts whose checkpoints hold them in stacks, and DeepSeek V4.

local linear, attention, mlp = blocks.linear, blocks.attention, blocks.mlp
local experts, mlp_of, sparse, moe = blocks.experts, blocks.mlp_of, blocks.sparse, blocks.moe
local number, first, join, contains = blocks.number, blocks.first, blocks.join, blocks.contains
local shared, router, sizes = blocks.shared, blocks.router, blocks.expert_sizes
local first_dense, by_kind = blocks.first_dense, blocks.by_kind
local beside, beside_qk, routed = blocks.beside, blocks.beside_qk, blocks.beside_experts

local function qk_norms(m) return 2 * m.head_dim end

-- DeepSeek V4: latent q, one key that is the value too, compressed keys in most layers.  The first
-- half of the output's projection (wo_a) is no linear: each of its groups of rows reads its own
-- part of the input; it stays as it is.
local function v4_kind(m, i)
  local list, types = m.config.compress_ratios, m.config.layer_types
  local by_type = { compressed_sparse_attention = 4, heavily_compressed_attention = 128 }
  local r = type(list) == "table" and number(list[i + 1], 0)
    or type(types) == "table" and by_type[types[i + 1]] or 0
  return r == 0 and "window" or r == 4 and "indexed" or "compressed"
end
local function v4_block(m, kind)
  local c, h, d = m.config, m.hidden, m.head_dim
  local q, dim = number(c.q_lora_rank, 1024), number(c.index_head_dim, 128)
  local index = kind == "indexed"
  local list = {
    linear("q_a", "qkv_a", "attn.wq_a", q, h), linear("kv", "qkv_a", "attn.wkv", d, h),
  }
  local function add(...) table.insert(list, linear(...)) end
  if kind ~= "window" then
    local rows = (index and 2 or 1) * d
    add("compress_kv", "qkv_a", "attn.compressor.wkv", rows, h)
    add("compress_gate", "qkv_a", "attn.compressor.wgate", rows, h)
  end
  if index then
    add("index_kv", "qkv_a", "attn.indexer.compressor.wkv", 2 * dim, h)
    add("index_gate", "qkv_a", "attn.indexer.compressor.wgate", 2 * dim, h)
  end
  add("q_b", "q_b", "attn.wq_b", m.heads * d, q)
  if index then
    add("index_q", "q_b", "attn.indexer.wq_b", number(c.index_n_heads, 64) * dim, q)
  end
  add("o", "o", "attn.wo_b", h, number(c.o_groups, 8) * number(c.o_lora_rank, 1024))
  return list
end
family {
  types = { "deepseek_v4" },
  names = { intermediate = "moe_intermediate_size" },
  beside = { "attn_norm", "ffn_norm", "attn.q_norm", "ffn.gate" },
  prefix = "", embedding = "embed", head = "head",
  block = function(m)
    local names = { gate = "w1", up = "w3", down = "w2" }
    local rest = join(moe(m, { path = "ffn", gate = "w1", up = "w3", down = "w2" }),
                      shared(m, "ffn.shared_experts.",
                             number(m.config.n_shared_experts, 1) * sizes(m).rows,
                             { names = names }))
    local kind = {}
    for _, k in ipairs { "window", "indexed", "compressed" } do
      kind[k] = join(v4_block(m, k), rest)
    end
    return { layers = blocks.layers(m, function(i) return v4_kind(m, i) end), kind = kind }
  end,
  extra = function(m)
    local c, h, d = m.config, m.hidden, m.head_dim
    local lora, mult = number(c.o_lora_rank, 1024), number(c.hc_mult, 4)
    local mixes = (2 + mult) * mult
    local all = 2 * h + number(c.q_lora_rank, 1024) + d + m.heads + router(m, true)
      + lora * m.heads * d + 2 * (mixes * mult * h + mixes + 3)
    local dim = number(c.index_head_dim, 128)
    local index = 4 * 2 * dim + dim + number(c.index_n_heads, 64) * h
    return { window = all, compressed = all + 128 * d + d,
             indexed = all + 4 * 2 * d + d + index }
  end,
  once = function(m)
    local mult = number(m.config.hc_mult, 4)
    return m.hidden + mult * mult * m.hidden + mult + 1
  end,
}

-- ---- Experts as one tensor of the checkpoint ----

family {
  types = { "gpt_oss" }, -- gate and up alternate column by column of [in, out]
  defaults = { attention_bias = 1, head_dim = 64 },
  beside = beside("self_attn.sinks", "mlp.router"),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local bias = m.attention_bias == 1
    return join(attention(m, bias, bias),
                moe(m, { transposed = true, interleaved = true, bias = true }))
  end,
  extra = function(m) return 2 * m.hidden + router(m, true) + m.heads end,
  gguf = { architecture = "gpt-oss", experts = true, model = blocks.gguf_model,
           block = blocks.gguf_experts("mlp", { gate = "gate_proj", up = "up_proj",
                                                down = "down_proj" }, "router", {
             attn_sinks = "self_attn.sinks", post_attention_norm = "post_attention_layernorm",
           }) },
}

family {
  types = { "llama4_text" },
  beside = beside(routed("feed_forward.router")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c, bias = m.config, m.attention_bias == 1
    local step = number(c.interleave_moe_layer_step, 1)
    local path = "feed_forward."
    local function dense(i)
      if type(c.moe_layers) == "table" and #c.moe_layers > 0 then
        return not contains(c.moe_layers, i)
      end
      return (i + 1) % step ~= 0
    end
    return sparse(m, dense, attention(m, bias, bias),
                  function()
                    return mlp_of(m, {}, path, number(c.intermediate_size_mlp, m.intermediate))
                  end,
                  function()
                    local e = { gate_up = path .. "experts.gate_up_proj",
                                down = path .. "experts.down_proj" }
                    return join(moe(m, { path = "feed_forward", stack = e, transposed = true,
                                         rows = m.intermediate }),
                                shared(m, path .. "shared_expert.", m.intermediate))
                  end)
  end,
  extra = by_kind(function(m) return 2 * m.hidden end, router),
}

family {
  types = { "dbrx" }, -- w1, v1 and w2 of all experts lie below one another; w2 is [in, out]
  names = { hidden = "d_model", layers = "n_layers", heads = "n_heads",
            kv_heads = "attn_config.kv_n_heads", intermediate = "ffn_config.ffn_hidden_size" },
  beside = { "norm_attn_norm.norm_1", "norm_attn_norm.norm_2", "ffn.router.layer" },
  last = "norm_f",
  prefix = "transformer.", blocks = "blocks", embedding = "transformer.wte", head = "lm_head",
  block = function(m)
    local f, path = m.config.ffn_config, "ffn.experts.mlp."
    local q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
    return join({
      blocks.qkv(linear("qkv", "qkv", "norm_attn_norm.attn.Wqkv", q + 2 * kv, m.hidden), m),
      linear("o", "o", "norm_attn_norm.attn.out_proj", m.hidden, q),
    }, experts(m, {}, {
      path = "ffn", rows = m.intermediate, gate = "w1", up = "v1", down = "w2",
      names = function(name) return "ffn.experts.*." .. name end,
      experts = number(f.moe_num_experts, 4), active = number(f.moe_top_k, 1),
      stack = { gate = path .. "w1", up = path .. "v1", down = path .. "w2" },
      down_transposed = true,
    }))
  end,
  extra = function(m)
    return 2 * m.hidden + number(m.config.ffn_config.moe_num_experts, 4) * m.hidden
  end,
}

local function granite_moe(m)
  local s, path = sizes(m), "block_sparse_moe."
  local list = experts(m, {}, {
    path = "block_sparse_moe", rows = m.intermediate, experts = s.experts, active = s.active,
    stack = { gate_up = path .. "input_linear", down = path .. "output_linear" },
  })
  local rows = number(m.config.shared_intermediate_size, 0)
  if rows > 0 then
    table.insert(list, blocks.gate_up(linear("shared_gate_up", "shared up-gate",
                                             "shared_mlp.input_linear", 2 * rows, m.hidden)))
    table.insert(list, linear("shared_down", "shared down", "shared_mlp.output_linear", m.hidden,
                              rows))
  end
  return list
end
blocks.granite_moe = granite_moe
family {
  types = { "granitemoe", "granitemoeshared" },
  beside = beside("block_sparse_moe.router.layer"),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local bias = m.attention_bias == 1
    return join(attention(m, bias, bias), granite_moe(m))
  end,
  extra = function(m) return 2 * m.hidden + router(m) end,
}

-- Step 3.5 and 3.7: stacks of gate and up apart, a gate a head, other heads in windows.
family {
  types = { "step3p5", "step3p7" },
  defaults = { head_dim = 128 },
  names = { kv_heads = "num_attention_groups" },
  beside = beside_qk(routed("moe.gate")),
  prefix = "model.", head = "lm_head",
  passed = function(m)
    local v = m.root.vision_config
    if type(v) ~= "table" then return nil end
    local h = first(v, { "hidden_size", "width" }, 1536)
    return { weights = blocks.vision(v, { projector = "none" }) + 90 * h * h + 4 * h * m.hidden,
             what = "vision tower and projector" }
  end,
  block = function(m)
    local c, s = m.config, sizes(m)
    local types, other = c.layer_types, c.attention_other_setting
    local listed = c.moe_layers_enum
    local dense = first_dense(m)
    if type(listed) == "string" then
      local set = {}
      for n in listed:gmatch("%d+") do set[math.tointeger(n)] = true end
      dense = function(i) return not set[i] end
    end
    local function heads(window)
      local q, kv = m.heads, m.kv_heads
      if window and type(other) == "table" then
        q = number(other.num_attention_heads, q)
        kv = number(other.num_attention_groups, kv)
      elseif window then
        q = number(c.num_sliding_attention_heads, q)
      end
      return attention({ heads = q, kv_heads = kv, head_dim = m.head_dim, hidden = m.hidden })
    end
    local stack = { gate = "moe.gate_proj", up = "moe.up_proj", down = "moe.down_proj" }
    local rest = {
      dense = mlp(m, {}, false),
      sparse = join(experts(m, {}, { path = "moe", rows = s.rows, experts = s.experts,
                                     active = s.active, stack = stack }),
                    shared(m, "share_expert.", first(c, { "share_expert_dim", "share_expert_dims" },
                                                     s.rows))),
    }
    local kind = {}
    for name, linears in pairs(rest) do
      kind[name] = join(heads(false), linears)
      kind[name .. "_window"] = join(heads(true), linears)
    end
    return {
      layers = blocks.layers(m, function(i)
        local window = type(types) == "table" and types[i + 1] == "sliding_attention"
        return (dense(i) and "dense" or "sparse") .. (window and "_window" or "")
      end),
      kind = kind,
    }
  end,
  extra = function(m)
    local all = 2 * m.hidden + qk_norms(m) + m.heads * m.hidden
    local s = all + router(m, true)
    return { dense = all, dense_window = all, sparse = s, sparse_window = s }
  end,
}

-- MiMo V2: windows with heads of their own; values narrower than keys.
family {
  types = { "mimo_v2_flash", "mimo_v2" },
  beside = beside(routed("mlp.gate")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c = m.config
    local v = number(c.v_head_dim, m.head_dim)
    local pattern, freq = c.hybrid_layer_pattern, c.moe_layer_freq
    local types, mlps = c.layer_types, c.mlp_layer_types
    local function heads(window)
      local q, kv, d, dv = m.heads, m.kv_heads, m.head_dim, v
      if window then
        q = number(c.swa_num_attention_heads, q)
        kv = number(c.swa_num_key_value_heads, 2 * kv)
        d, dv = number(c.swa_head_dim, d), number(c.swa_v_head_dim, dv)
      end
      return {
        linear("q", "qkv", "self_attn.q_proj", q * d, m.hidden),
        linear("k", "qkv", "self_attn.k_proj", kv * d, m.hidden),
        linear("v", "qkv", "self_attn.v_proj", kv * dv, m.hidden),
        linear("o", "o", "self_attn.o_proj", m.hidden, q * dv),
      }
    end
    local kind = {}
    for name, rest in pairs { dense = mlp(m, {}, false), sparse = moe(m) } do
      kind[name], kind[name .. "_window"] = join(heads(false), rest), join(heads(true), rest)
    end
    return {
      layers = blocks.layers(m, function(i)
        local window = type(pattern) == "table" and pattern[i + 1] == 1
          or type(types) == "table" and types[i + 1] == "sliding_attention"
        local is_sparse = type(freq) ~= "table" or freq[i + 1] == 1
        if type(mlps) == "table" then is_sparse = mlps[i + 1] == "sparse" end
        return (is_sparse and "sparse" or "dense") .. (window and "_window" or "")
      end),
      kind = kind,
    }
  end,
  extra = function(m)
    local all = 2 * m.hidden
    local s = all + router(m, true)
    return { dense = all, dense_window = all + m.heads, sparse = s, sparse_window = s + m.heads }
  end,
}
