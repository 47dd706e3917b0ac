package main

import "github.com/tidemark-es/tidemark/internal/fastcodec"

// posted is the event of all cases, and account what the projections keep of
// each key. Both have generated methods.
type (
	posted  = fastcodec.Posted
	account = fastcodec.Balance
)
