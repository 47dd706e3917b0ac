package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
)

// profiler profiles the timed parts of one side of one case, so that neither
// preparations nor the other side are in it.
type profiler struct {
	side     string
	cpu, mem string // files, "" for none
	rounds   int
	file     *os.File
}

// allocRate is that of the runtime: a sample for each 512 KiB.
const allocRate = 512 << 10

func newProfiler(o options, cases int) (*profiler, error) {
	if o.cpuProfile == "" && o.memProfile == "" {
		return nil, nil
	}
	if cases != 1 {
		return nil, fmt.Errorf("%w: a profile is of one case: choose it with -run", errUsage)
	}
	if o.memProfile != "" {
		runtime.MemProfileRate = 0 // until start
	}
	return &profiler{side: o.side, cpu: o.cpuProfile, mem: o.memProfile}, nil
}

// of returns the profiler where it is for this side, else nil.
func (p *profiler) of(side string) *profiler {
	if p == nil || p.side != side {
		return nil
	}
	return p
}

func (p *profiler) start() (err error) {
	p.rounds++
	if p.mem != "" {
		runtime.MemProfileRate = allocRate
	}
	if p.cpu == "" {
		return nil
	}
	name := p.cpu
	if p.rounds > 1 {
		name = fmt.Sprintf("%s.%d", p.cpu, p.rounds)
	}
	if p.file, err = os.Create(name); err != nil {
		return fmt.Errorf("-cpuprofile: %w", err)
	}
	return pprof.StartCPUProfile(p.file)
}

// stop ends the profile of a round. The one of allocations is of all rounds
// until now.
func (p *profiler) stop() error {
	if p.file != nil {
		pprof.StopCPUProfile()
		if err := p.file.Close(); err != nil {
			return fmt.Errorf("-cpuprofile: %w", err)
		}
		p.file = nil
	}
	if p.mem == "" {
		return nil
	}
	f, err := os.Create(p.mem)
	if err != nil {
		return fmt.Errorf("-memprofile: %w", err)
	}
	defer f.Close()
	runtime.GC() // the profile is as of the last collection
	if err := pprof.Lookup("allocs").WriteTo(f, 0); err != nil {
		return fmt.Errorf("-memprofile: %w", err)
	}
	runtime.MemProfileRate = 0
	return nil
}
