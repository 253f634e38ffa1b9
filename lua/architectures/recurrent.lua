-- Decoders without attention, and one whose attention is experts.

local linear, number, join = blocks.linear, blocks.number, blocks.join

-- Mamba-1: the narrow projections (x_proj, dt_proj) stay as they are, as what steers a state.
family {
  types = { "mamba", "falcon_mamba" },
  names = { hidden = "hidden_size" },
  defaults = { heads = 1, intermediate = 1, tied = 1 },
  beside = { "norm" }, last = "norm_f",
  prefix = "backbone.", embedding = "backbone.embeddings", head = "lm_head",
  block = function(m)
    local inner, bias = number(m.config.expand, 2) * m.hidden, m.config.use_bias and true or false
    return {
      linear("ssm_in", "ssm_in", "mixer.in_proj", 2 * inner, m.hidden, bias),
      linear("ssm_out", "ssm_out", "mixer.out_proj", m.hidden, inner, bias),
    }
  end,
  extra = function(m)
    local c, inner = m.config, number(m.config.expand, 2) * m.hidden
    local state, rank = number(c.state_size, 16), number(c.time_step_rank, (m.hidden + 15) // 16)
    local conv = number(c.conv_kernel, 4) + (c.use_conv_bias ~= false and 1 or 0)
    return m.hidden + inner * (conv + 2 * state + rank + 1 + rank + state + 1)
  end,
}

-- xLSTM: a matrix memory with gates of its own, of which two (a row a head) stay as they are, and
-- an MLP.
family {
  types = { "xlstm" },
  names = { heads = "num_heads" },
  defaults = { intermediate = 1 },
  beside = { "norm_mlstm", "norm_ffn", "mlstm_layer.multihead_norm" },
  last = function(m) return m.config.add_out_norm ~= false and "out_norm" end,
  prefix = "backbone.", blocks = "blocks", embedding = "backbone.embeddings", head = "lm_head",
  block = function(m)
    local c, h, bias = m.config, m.hidden, m.config.use_bias and true or false
    local qk = math.floor(h * number(c.qk_dim_factor, 0.5))
    local v = math.floor(h * number(c.v_dim_factor, 1))
    local step = number(c.ffn_round_up_to_multiple_of, 64)
    local f = math.floor((h * number(c.ffn_proj_factor, 2.667) + step - 1) // step) * step
    local path = "mlstm_layer."
    local own = {
      linear("q", "qkv", path .. "q", qk, h, bias), linear("k", "qkv", path .. "k", qk, h, bias),
      linear("v", "qkv", path .. "v", v, h, bias),
      linear("attn_gate", "qkv", path .. "ogate_preact", v, h, bias),
    }
    local mlp = {
      linear("up", "up-gate", "ffn.proj_up", f, h, bias),
      linear("gate", "up-gate", "ffn.proj_up_gate", f, h, bias),
    }
    if c.weight_mode == "fused" then
      own = { blocks.joined(linear("qkv", "qkv", path .. "qkv_opreact", 2 * qk + 2 * v, h, bias),
                            { { "q", qk }, { "k", qk, m.heads }, { "v", v, m.heads },
                              { "attn_gate", v } }) }
      mlp = { blocks.gate_up(linear("gate_up", "up-gate", "ffn.proj_up_gate_z", 2 * f, h, bias)) }
    end
    return join(own, { linear("o", "o", path .. "out_proj", h, v, bias) }, mlp,
                { linear("down", "down", "ffn.proj_down", h, f, bias) })
  end,
  extra = function(m)
    local c, h = m.config, m.hidden
    local v = math.floor(h * number(c.v_dim_factor, 1))
    return (c.use_bias and 2 or 1) * (2 * h + v) + 2 * m.heads * (h + 1)
  end,
  once = function(m) return m.config.add_out_norm == false and 0 or m.hidden end,
}

-- RWKV-4: each of its linears reads a mixture of its own with the token before.
family {
  types = { "rwkv" },
  defaults = { heads = 1, intermediate = 1 },
  beside = { "ln1", "ln2" }, last = "ln_out",
  prefix = "rwkv.", blocks = "blocks", embedding = "rwkv.embeddings", head = "head",
  block = function(m)
    local h, a = m.hidden, number(m.config.attention_hidden_size, m.hidden)
    local f = number(m.config.intermediate_size, 4 * h)
    return {
      linear("k", "k", "attention.key", a, h), linear("v", "v", "attention.value", a, h),
      linear("r", "r", "attention.receptance", a, h), linear("o", "o", "attention.output", h, a),
      linear("up", "up", "feed_forward.key", f, h),
      linear("mlp_r", "mlp_r", "feed_forward.receptance", h, h),
      linear("down", "down", "feed_forward.value", h, f),
    }
  end,
  extra = function(m)
    return 4 * m.hidden + 2 * number(m.config.attention_hidden_size, m.hidden) + 5 * m.hidden
  end,
  once = function(m) return 4 * m.hidden end, -- the first block has a norm more
}

-- JetMoE: the heads of q, and what they give back, are experts, too; k and v are every token's.
family {
  types = { "jetmoe" },
  names = { head_dim = "kv_channels", heads = "num_key_value_heads" },
  defaults = { tied = 1 },
  beside = blocks.beside({ of = "expert_q", "self_attention.experts.router.layer" },
                         blocks.beside_experts("mlp.router.layer")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c, kv = m.config, m.kv_heads * m.head_dim
    local e, active = number(c.num_local_experts, 8), number(c.num_experts_per_tok, 2)
    local path = "self_attention.experts."
    local function stack(role, group, name, rows, columns)
      local l = linear(role, group, path .. "*." .. name, rows, columns)
      l.experts, l.active = e, active
      l.stack = { tensor = path .. name, part = 0, parts = 1 }
      return l
    end
    return blocks.experts(m, {
      stack("expert_q", "experts-q", "input_linear", kv, m.hidden),
      linear("kv", "kv", "self_attention.kv_proj", 2 * kv, m.hidden),
      stack("expert_o", "experts-o", "output_linear", m.hidden, kv),
    }, { path = "mlp", rows = m.intermediate, experts = e, active = active,
         stack = { gate_up = "mlp.input_linear", down = "mlp.output_linear" } })
  end,
  extra = function(m)
    return 4 * m.hidden + 2 * number(m.config.num_local_experts, 8) * m.hidden
  end,
}
family {
  types = { "zamba", "zamba2" },
  refused = "several of its layers share one block's matrices, to which each adds adapters of its "
    .. "own: such a matrix is no linear of one layer",
}
