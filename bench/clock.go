package main

import (
	"runtime"
	"time"
)

// clock times a part of a side, and profiles that part where it is asked to.
type clock struct {
	prof    *profiler // nil: no profile
	begun   time.Time
	elapsed time.Duration
}

// start begins the timed part, with the garbage of what came before gone.
func (c *clock) start() error {
	runtime.GC()
	if c.prof != nil {
		if err := c.prof.start(); err != nil {
			return err
		}
	}
	c.begun = time.Now()
	return nil
}

// stop ends the timed part.
func (c *clock) stop() error {
	c.elapsed = time.Since(c.begun)
	if c.prof != nil {
		return c.prof.stop()
	}
	return nil
}

// rate is n by the timed seconds.
func (c *clock) rate(n int) float64 { return float64(n) / c.elapsed.Seconds() }

// millis is the timed part in milliseconds.
func (c *clock) millis() float64 { return millis(c.elapsed) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
