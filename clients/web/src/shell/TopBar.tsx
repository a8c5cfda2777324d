import { Link, useNavigate } from "@tanstack/react-router";
import { Plus, Search } from "lucide-react";
import { useState } from "react";
import { useBox } from "@/api/queries";
import { Button, buttonLook } from "@/components/Button";
import { ConnectionStatus } from "./ConnectionStatus";

/** `onPalette` opens the search of actions and jobs, which is the one on a phone. */
export function TopBar({ onPalette }: { onPalette: () => void }) {
  const box = useBox().data;
  const gpus = box?.gpus ?? [];
  const free = (box?.free_indices ?? []).length;
  return (
    <header className="sticky top-0 z-40 flex h-12 items-center gap-3 border-b border-line bg-panel px-3 sm:px-5">
      <Link to="/" className="flex items-center gap-2 font-semibold" aria-label="Berth, to the overview">
        <Logo />
        <span className="hidden sm:inline">Berth</span>
      </Link>
      {box && (
        <div className="flex min-w-0 items-baseline gap-3 text-xs text-muted">
          <span className="truncate font-medium text-ink" title="Host name of the box">
            {box.hostname}
          </span>
          {box.driver_version && (
            <span className="hidden whitespace-nowrap md:inline">
              {box.source === "slurm" ? "Slurm" : "driver"} {box.driver_version}
            </span>
          )}
          {box.source === "simulated" && (
            <span
              className="hidden rounded bg-violet-soft px-1.5 py-0.5 whitespace-nowrap text-violet md:inline"
              title="These GPUs are simulated (BERTH_GPUS)"
            >
              simulated GPUs
            </span>
          )}
        </div>
      )}
      <div className="ml-auto flex items-center gap-3">
        <ConnectionStatus />
        {box && gpus.length > 0 && (
          <Link
            to="/"
            className="hidden text-sm whitespace-nowrap tabular hover:underline sm:inline"
            title="GPUs on which a job of yours could start now"
          >
            <span className="font-semibold">{free}</span> of {gpus.length} free
          </Link>
        )}
        <SearchBox />
        <Button kind="quiet" className="sm:hidden" aria-label="Search" onClick={onPalette}>
          <Search aria-hidden className="size-4" />
        </Button>
        <Link to="/submit" className={buttonLook("primary")} aria-label="Submit a job">
          <Plus aria-hidden className="size-4" />
          <span className="hidden sm:inline">Submit</span>
        </Link>
      </div>
    </header>
  );
}

function SearchBox() {
  const navigate = useNavigate();
  const [text, setText] = useState("");
  return (
    <form
      role="search"
      aria-label="Jobs"
      className="relative hidden sm:block"
      onSubmit={(event) => {
        event.preventDefault();
        const wanted = text.trim().replace(/^#/, "");
        if (/^\d+(\.\d+)?$/.test(wanted))
          void navigate({ to: "/jobs/$jobId", params: { jobId: wanted.split(".")[0] ?? wanted } });
        else void navigate({ to: "/jobs", search: wanted === "" ? {} : { q: wanted } });
        setText("");
      }}
    >
      <Search aria-hidden className="pointer-events-none absolute top-2 left-2 size-4 text-muted" />
      <input
        id="search"
        type="search"
        value={text}
        onChange={(event) => setText(event.target.value)}
        aria-label="Search jobs by number or name"
        placeholder="Job number or name"
        title="Press / to search"
        className="field w-40 pl-7 text-sm xl:w-56"
      />
    </form>
  );
}

function Logo() {
  return (
    <svg aria-hidden viewBox="0 0 32 32" className="size-6">
      <rect width="32" height="32" rx="7" fill="#0b5f8a" />
      <path d="M7 19h18l-2.6 6H9.6z" fill="#fff" />
      <path d="M10 17v-5h5v5zm7 0V8h5v9z" fill="#8fd0ee" />
    </svg>
  );
}
