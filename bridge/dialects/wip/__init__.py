"""WIP: the dialect of Wavecom, Sierra and Multi-Tech modems."""
