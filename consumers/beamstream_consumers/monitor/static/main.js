document.title="stream monitor";
