"""From a corpus on disk to encoded samples."""
