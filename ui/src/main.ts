// The page of the monitor.

document.title = 'stream monitor';
